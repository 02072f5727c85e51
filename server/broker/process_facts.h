#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "membroker/error.h"
#include "shared/bytes.h"

/// \file
/// What /proc says of a process. Every function reads a few files of the kernel's own, never
/// memory or files of the process. process_share() waits while the kernel changes the process's
/// memory map (a large mmap, munmap or fork), so the broker's thread does not call it; the others
/// wait for nothing.
///
/// kNotFound means that the process is no more. Where the files cannot be read, as with no
/// descriptor left, the error is another one, and the process may live.
///
/// Thread-safe.

namespace membroker::broker {

/// Start time of a live process in clock ticks since boot; kNotFound if there is none.
Result<std::uint64_t> process_start_time(pid_t pid);

/// Which program image a process runs, as a number that every exec changes and that a forked child
/// shares with its parent: a hash of the kernel's record of where it put the program
/// (/proc/<pid>/auxv). The kernel puts it elsewhere each time, so it differs also when a program
/// execs itself. (Where address space randomisation is switched off, a program that execs itself
/// with the same arguments looks unchanged.) Never kImageUnknown.
///
/// kPermissionDenied: needs the right to trace the process (the same user, root or CAP_SYS_PTRACE).
/// kNotFound: there is no such process, or it has no image now: a zombie, or within an exec.
Result<std::uint64_t> process_image(pid_t pid);
inline constexpr std::uint64_t kImageUnknown = 0;

/// Memory that would be free without the process: its proportional share (Pss) of what it maps, but
/// for files, whose pages the kernel takes back by itself. Walks the page tables: some 10 ms per
/// GiB of small pages. Errors as process_image.
Result<Bytes> process_share(pid_t pid);

/// The pages of no file in the process's page tables, shared or not: at least process_share() but
/// for shared memory. Costs the same for any size; kNotFound as above.
Result<Bytes> process_resident(pid_t pid);

struct ProcessEntry {
  pid_t pid = 0;
  pid_t parent = 0;
  std::uint64_t start_time = 0;
};
/// All processes of this pid namespace that have not ended, zombies left out, by pid.
Result<std::vector<ProcessEntry>> list_processes();

}  // namespace membroker::broker
