#include <algorithm>
#include <utility>

#include "server/arbiter/tree.h"
#include "shared/check.h"

/// \file
/// The part of Tree that changes its shape and policies. Tenants are few and configuration rare, so
/// each change takes all tenants out of their parents' sets and puts them back.

namespace membroker::arbiter {

namespace {

// Calls visit(part) for each part of "a/b/c".
template <class Visit>
void for_each_part(std::string_view path, Visit visit) {
  while (true) {
    const std::size_t slash = path.find('/');
    visit(path.substr(0, slash));
    if (slash == std::string_view::npos) return;
    path.remove_prefix(slash + 1);
  }
}

template <class Node, class Out>
void collect(Node& node, Out& out) {
  for (auto& [name, child] : node.tenants) {
    out.push_back(child.get());
    collect(*child, out);
  }
}

Bytes own_guarantee(const Tenant& tenant) { return tenant.removed ? 0 : tenant.policy.guarantee; }

// Unscaled, with `instead` in place of what `changed` has of its own.
Wide guarantee_with(const Tenant& node, const Tenant* changed, Bytes instead) {
  Wide below = 0;
  for (const auto& [name, child] : node.tenants) below += guarantee_with(*child, changed, instead);
  if (node.parent == nullptr) return below;
  const Bytes own = &node == changed ? instead : own_guarantee(node);
  return std::max(Wide{own}, below);
}

}  // namespace

Tenant* Tree::find(std::string_view path) {
  return const_cast<Tenant*>(std::as_const(*this).find(path));
}

const Tenant* Tree::find(std::string_view path) const {
  const Tenant* node = &root_;
  for_each_part(path, [&](std::string_view part) {
    if (node == nullptr) return;
    const auto child = node->tenants.find(part);
    node = child == node->tenants.end() ? nullptr : child->second.get();
  });
  return node;
}

std::vector<Tenant*> Tree::tenants() {
  std::vector<Tenant*> all;
  collect(root_, all);
  return all;
}

std::vector<const Tenant*> Tree::tenants() const {
  std::vector<const Tenant*> all;
  collect(root_, all);
  return all;
}

void Tree::detach_tenants() {
  ++version_;
  show_all();
  for (Tenant* tenant : tenants()) {
    if (tenant->in_class != nullptr) detach(*tenant);
  }
}

void Tree::attach_tenants() {
  settle_guarantees();
  const std::vector<Tenant*> all = tenants();
  for (auto tenant = all.rbegin(); tenant != all.rend(); ++tenant) attach(**tenant);
  count(root_);
}

// The guarantees in effect: at least the sum below; scaled if the capacity has been cut below them.
void Tree::settle_guarantees() {
  const std::vector<Tenant*> all = tenants();
  std::vector<Wide> below(tenants_made_ + 1, 0);
  for (auto tenant = all.rbegin(); tenant != all.rend(); ++tenant) {
    const Wide whole = std::max(Wide{own_guarantee(**tenant)}, below[(*tenant)->ordinal]);
    (*tenant)->guarantee = static_cast<Bytes>(std::min(whole, Wide{kFigureMax}));
    below[(*tenant)->parent->ordinal] += whole;
  }
  const Wide sum = below[0];
  root_.guarantee = static_cast<Bytes>(std::min(sum, Wide{capacity()}));
  for (Tenant* tenant : all) {
    if (sum > capacity()) {
      tenant->guarantee = static_cast<Bytes>(Wide{tenant->guarantee} * capacity() / sum);
    }
    tenant->limit = tenant->removed ? 0 : std::min(tenant->policy.limit, kUnlimited);
  }
}

void Tree::set_capacity(Bytes capacity) {
  detach_tenants();
  root_.limit = capacity;
  attach_tenants();
  if (chunk_ == chunk_of(capacity)) return;
  // What is worth asking for depends on the chunk.
  chunk_ = chunk_of(capacity);
  for (Lease* lease : sessions_.by_session()) refresh(*lease);
}

Tenant& Tree::make_tenant(std::string_view path, bool made_removed) {
  if (Tenant* known = find(path); known != nullptr && (made_removed || !known->removed)) {
    return *known;
  }
  detach_tenants();
  Tenant* node = &root_;
  for_each_part(path, [&](std::string_view part) {
    auto child = node->tenants.find(part);
    if (child == node->tenants.end()) {
      auto made = std::make_unique<Tenant>();
      made->parent = node;
      made->name = std::string(part);
      made->depth = static_cast<std::uint16_t>(node->depth + 1);
      made->ordinal = ++tenants_made_;
      made->removed = made_removed;
      child = node->tenants.emplace(made->name, std::move(made)).first;
    } else if (!made_removed && child->second->removed) {
      child->second->removed = false;
      child->second->policy = TenantPolicy{};
      child->second->weight = child->second->policy.weight;
      child->second->priority = child->second->policy.priority;
    }
    node = child->second.get();
  });
  attach_tenants();
  return *node;
}

void Tree::set_policy(Tenant& tenant, const TenantPolicy& policy) {
  detach_tenants();
  tenant.policy = policy;
  tenant.weight = policy.weight;
  tenant.priority = policy.priority;
  attach_tenants();
}

void Tree::remove_subtree(Tenant& tenant) {
  detach_tenants();
  std::vector<Tenant*> subtree{&tenant};
  collect(tenant, subtree);
  for (Tenant* gone : subtree) gone->removed = true;
  attach_tenants();
}

bool Tree::drop_if_done(Tenant& tenant) {
  Tenant* parent = tenant.parent;
  if (parent == nullptr || !tenant.removed) return false;
  if (!tenant.leases.empty() || !tenant.tenants.empty()) return false;
  MB_CHECK(tenant.held == 0 && !tenant.over);
  show(tenant);
  detach(tenant);
  parent->tenants.erase(parent->tenants.find(tenant.name));
  for (Tenant* node = parent; node != nullptr; node = node->parent) count(*node);
  ++version_;
  return true;
}

void Tree::prune(Tenant* tenant) {
  while (tenant != nullptr) {
    Tenant* parent = tenant->parent;
    if (!drop_if_done(*tenant)) return;
    tenant = parent;
  }
}

void Tree::prune_subtree(Tenant& tenant) {
  std::vector<Tenant*> subtree{&tenant};
  collect(tenant, subtree);
  for (auto node = subtree.rbegin(); node != subtree.rend(); ++node) drop_if_done(**node);
}

Wide Tree::guarantees_with(std::string_view path, Bytes guarantee) const {
  const Tenant* changed = find(path);
  if (changed != nullptr) return guarantee_with(root_, changed, guarantee);
  // Not made yet: it adds to what its nearest existing ancestor guarantees below itself.
  const Tenant* node = &root_;
  for_each_part(path, [&](std::string_view part) {
    const auto child = node->tenants.find(part);
    if (child != node->tenants.end()) node = child->second.get();
  });
  Wide added = guarantee;
  for (; node != nullptr; node = node->parent) {
    Wide below = added;
    for (const auto& [name, child] : node->tenants) below += guarantee_with(*child, nullptr, 0);
    const Wide before = guarantee_with(*node, nullptr, 0);
    if (node->parent == nullptr) return below;
    added = std::max(Wide{own_guarantee(*node)}, below) - before;
  }
  return added;
}

}  // namespace membroker::arbiter
