#include "client/spill/directories.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "shared/format.h"

namespace membroker {
namespace spill {
namespace {

constexpr std::string_view kNamePrefix = ".membroker-spill-";

struct ListingCloser {
  void operator()(DIR* listing) const noexcept { ::closedir(listing); }
};

// Names exist only for the instant between creating and unlinking; one that is found belongs to a
// process killed in it, or about to be unlinked by its maker, who does not mind.
void sweep(const std::string& path) {
  const std::unique_ptr<DIR, ListingCloser> listing(::opendir(path.c_str()));
  if (!listing) return;
  while (const dirent* entry = ::readdir(listing.get())) {
    if (!std::string_view(entry->d_name).starts_with(kNamePrefix)) continue;
    struct stat status {};
    const int dir = ::dirfd(listing.get());
    if (::fstatat(dir, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISREG(status.st_mode) && status.st_uid == ::geteuid()) {
      ::unlinkat(dir, entry->d_name, 0);
    }
  }
}

Result<std::string> open_directory(const std::string& path) {
  const std::string what = "spill directory " + path;
  if (path.empty()) return fail(ErrorCode::kInvalid, "a spill directory has an empty path");
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(errno_error("make " + what, errno));
  }
  char absolute[PATH_MAX];
  if (::realpath(path.c_str(), absolute) == nullptr) return fail(errno_error(what, errno));
  struct stat status {};
  if (::stat(absolute, &status) != 0) return fail(errno_error(what, errno));
  if (!S_ISDIR(status.st_mode)) return fail(ErrorCode::kInvalid, what + " is not a directory");
  if (::faccessat(AT_FDCWD, absolute, W_OK | X_OK, AT_EACCESS) != 0) {
    return fail(errno_error(what + " cannot be written to", errno));
  }
  sweep(absolute);
  return std::string(absolute);
}

Bytes free_bytes(const std::string& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) return -1;
  return checked_mul(static_cast<Bytes>(status.f_bavail), static_cast<Bytes>(status.f_frsize))
      .value_or(kBytesMax);
}

// Opens with these flags added; -1 with errno.
int open_unnamed(const std::string& directory, int flags) {
  const int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
  const bool refused = errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT;
  if (fd >= 0 || !refused) return fd;
  static std::atomic<std::uint64_t> counter{0};
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::string name =
        strf("%s/%s%d-%llu", directory.c_str(), std::string(kNamePrefix).c_str(), ::getpid(),
             static_cast<unsigned long long>(counter.fetch_add(1, std::memory_order_relaxed)));
    const int named = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | flags, 0600);
    if (named >= 0) {
      ::unlink(name.c_str());
      return named;
    }
    if (errno != EEXIST) return -1;
  }
  return -1;
}

Result<NewFile> create_in(const std::string& directory, SpillDirectIo direct_io) {
  NewFile file;
  file.directory = directory;
  if (direct_io == SpillDirectIo::kAuto) {
    file.fd = UniqueFd(open_unnamed(directory, O_DIRECT));
    file.direct = static_cast<bool>(file.fd);
    if (!file.fd && errno != EINVAL && errno != EOPNOTSUPP) {
      return fail(errno_error("create a spill file in " + directory, errno));
    }
  }
  if (!file.fd) file.fd = UniqueFd(open_unnamed(directory, 0));
  if (!file.fd) return fail(errno_error("create a spill file in " + directory, errno));
  return file;
}

Error full_error(const std::string& directory, Bytes needed) {
  return Error(ErrorCode::kDiskFull,
               strf("spill directory %s is full: %s needed, %s free", directory.c_str(),
                    format_bytes(needed).c_str(),
                    format_bytes(std::max<Bytes>(0, free_bytes(directory))).c_str()));
}

// Creates a file there and gives it its first space.
Result<NewFile> create_with_space(const std::string& directory, Bytes needed, Bytes allocate,
                                  SpillDirectIo direct_io) {
  auto file = create_in(directory, direct_io);
  if (!file) return file;
  for (const Bytes bytes : {allocate, needed}) {
    const auto given = allocate_space(file->fd.get(), 0, bytes, directory);
    if (!given) return fail(given.error());
    if (*given == Allocated::kFull) continue;
    file->preallocates = *given == Allocated::kYes;
    file->allocated = file->preallocates ? bytes : 0;
    return file;
  }
  return fail(full_error(directory, needed));
}

}  // namespace

Result<Allocated> allocate_space(int fd, Bytes from, Bytes end, const std::string& directory) {
  int result = 0;
  do {
    result = ::fallocate(fd, 0, from, end - from);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return Allocated::kYes;
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) return Allocated::kFull;
  if (errno == EOPNOTSUPP || errno == ENOSYS) return Allocated::kUnsupported;
  return fail(errno_error("allocate space for a spill file in " + directory, errno));
}

Result<std::shared_ptr<Directories>> Directories::make(std::vector<std::string> paths) {
  if (paths.empty()) return fail(ErrorCode::kInvalid, "no spill directory is given");
  auto directories = std::make_shared<Directories>();
  for (const std::string& path : paths) {
    auto absolute = open_directory(path);
    if (!absolute) return fail(absolute.error());
    directories->paths_.push_back(std::move(*absolute));
  }
  return directories;
}

Result<NewFile> Directories::create_file(Bytes needed, Bytes allocate,
                                         SpillDirectIo direct_io) const {
  std::vector<std::pair<Bytes, const std::string*>> by_space;
  for (const std::string& path : paths_) by_space.emplace_back(free_bytes(path), &path);
  std::stable_sort(by_space.begin(), by_space.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::optional<Error> first;
  std::string said;
  for (const auto& [space, path] : by_space) {
    auto file = create_with_space(*path, needed, allocate, direct_io);
    if (file) return file;
    if (!first || file.error().code() == ErrorCode::kDiskFull) first = file.error();
    said += (said.empty() ? "" : "; ") + file.error().message();
  }
  return fail(first->code(), said);
}

}  // namespace spill

Result<std::shared_ptr<SpillDirectories>> SpillDirectories::open(std::vector<std::string> paths) {
  auto made = spill::Directories::make(std::move(paths));
  if (!made) return fail(made.error());
  return std::shared_ptr<SpillDirectories>(std::move(*made));
}

}  // namespace membroker
