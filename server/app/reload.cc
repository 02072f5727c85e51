#include "server/app/reload.h"

#include <algorithm>
#include <map>

#include "server/broker/tenant_path.h"

namespace membroker::app {
namespace {

using broker::BrokerConfig;
using broker::TenantConfig;

const TenantConfig* find(const BrokerConfig& config, const std::string& path) {
  const auto found = std::find_if(config.tenants.begin(), config.tenants.end(),
                                  [&](const auto& tenant) { return tenant.path == path; });
  return found == config.tenants.end() ? nullptr : &*found;
}

const broker::ResourceConfig* find_resource(const BrokerConfig& config, const std::string& name) {
  const auto found = std::find_if(config.resources.begin(), config.resources.end(),
                                  [&](const auto& resource) { return resource.name == name; });
  return found == config.resources.end() ? nullptr : &*found;
}

arbiter::TenantPolicy policy_of(const TenantConfig* tenant, const std::string& resource) {
  if (tenant == nullptr) return {};
  const auto found = tenant->policies.find(resource);
  return found == tenant->policies.end() ? arbiter::TenantPolicy{} : found->second;
}

broker::TenantChange change_to(const arbiter::TenantPolicy& policy) {
  return {.guarantee = policy.guarantee,
          .mode = policy.mode,
          .limit = policy.limit,
          .weight = policy.weight,
          .priority = policy.priority,
          .priority_max = policy.priority_max,
          .on_overdue = policy.on_overdue};
}

class Reload {
 public:
  Reload(const BrokerConfig& before, const BrokerConfig& after, broker::Broker& broker, Instant now)
      : before_(before), after_(after), broker_(broker), now_(now) {}

  // At every step the guarantees must fit under the limits above them and under the capacity:
  // first what makes room, children before their parents, then what takes it, parents first.
  ReloadReport run() {
    capacities(true);
    remove_tenants();
    lower_tenants();
    raise_tenants();
    capacities(false);
    restarts();
    return std::move(report_);
  }

 private:
  void note(const Status& status) {
    if (!status) report_.problems.push_back(status.error().message());
  }

  void capacities(bool raised) {
    for (const broker::ResourceConfig& resource : after_.resources) {
      const auto* old = find_resource(before_, resource.name);
      if (old == nullptr || old->capacity == resource.capacity) continue;
      if ((resource.capacity > old->capacity) != raised) continue;
      note(broker_.set_capacity(resource.name, resource.capacity, now_));
      ++report_.capacities_set;
    }
  }

  void remove_tenants() {
    for (const TenantConfig& tenant : before_.tenants) {
      if (find(after_, tenant.path) != nullptr) continue;
      // One that other tenants are below stays, as their parent, with nothing of its own.
      const bool parent = std::any_of(
          after_.tenants.begin(), after_.tenants.end(),
          [&](const auto& other) { return broker::is_within(other.path, tenant.path); });
      if (parent) {
        reset(tenant);
        continue;
      }
      ++report_.tenants_removed;
      const Status removed = broker_.remove_tenant(tenant.path, now_);
      // Gone with its parent, or removed by an admin.
      if (!removed && removed.error().code() != ErrorCode::kNotFound) note(removed);
    }
  }

  void reset(const TenantConfig& tenant) {
    for (const auto& [resource, policy] : tenant.policies) {
      note(broker_.set_tenant(tenant.path, resource, change_to({}), now_));
    }
  }

  void lower_tenants() {
    for (auto tenant = after_.tenants.rbegin(); tenant != after_.tenants.rend(); ++tenant) {
      report_.tenants_set += set_policies(*tenant, true) ? 1 : 0;
    }
  }

  void raise_tenants() {
    for (const TenantConfig& tenant : after_.tenants) {
      const TenantConfig* old = find(before_, tenant.path);
      bool touched = set_policies(tenant, false);
      if (old == nullptr || old->uids != tenant.uids || old->gids != tenant.gids) {
        note(broker_.set_access(tenant.path, tenant.uids, tenant.gids, now_));
        touched = true;
      }
      report_.tenants_set += touched ? 1 : 0;
    }
  }

  // Those whose guarantee is `lowered`, or all others.
  bool set_policies(const TenantConfig& tenant, bool lowered) {
    const TenantConfig* old = find(before_, tenant.path);
    bool touched = false;
    for (const broker::ResourceConfig& resource : after_.resources) {
      if (find_resource(before_, resource.name) == nullptr) continue;
      const auto has = policy_of(old, resource.name);
      const auto wanted = policy_of(&tenant, resource.name);
      const bool is_new = old == nullptr && tenant.policies.contains(resource.name);
      if (!is_new && has == wanted) continue;
      if ((wanted.guarantee < has.guarantee) != lowered) continue;
      note(broker_.set_tenant(tenant.path, resource.name, change_to(wanted), now_));
      touched = true;
    }
    return touched;
  }

  void restarts() {
    for (const broker::ResourceConfig& resource : after_.resources) {
      const auto* old = find_resource(before_, resource.name);
      if (old == nullptr) {
        report_.problems.push_back("resource " + resource.name + " is new: it needs a restart");
        continue;
      }
      if (old->floor_max != resource.floor_max) {
        report_.problems.push_back("floor_max of " + resource.name + " needs a restart");
      }
      if (old->policy != resource.policy) {
        report_.problems.push_back("policy of " + resource.name + " needs a restart");
      }
    }
    for (const broker::ResourceConfig& resource : before_.resources) {
      if (find_resource(after_, resource.name) == nullptr) {
        report_.problems.push_back("resource " + resource.name + " stays until a restart");
      }
    }
  }

  const BrokerConfig& before_;
  const BrokerConfig& after_;
  broker::Broker& broker_;
  const Instant now_;
  ReloadReport report_;
};

}  // namespace

ReloadReport reload(const BrokerConfig& before, const BrokerConfig& after, broker::Broker& broker,
                    Instant now) {
  return Reload(before, after, broker, now).run();
}

}  // namespace membroker::app
