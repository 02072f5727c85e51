#pragma once

#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

namespace membroker::testing {

/// A fresh folder, removed with its content at the end of the test. Other users may look into it.
class TemporaryFolder {
 public:
  /// In /tmp unless told otherwise, for the names of sockets must be short.
  explicit TemporaryFolder(const std::string& parent = "/tmp")
      : root_(parent + "/membroker-test-XXXXXX") {
    if (::mkdtemp(root_.data()) == nullptr || ::chmod(root_.c_str(), 0755) != 0) {
      std::perror(root_.c_str());
      std::abort();
    }
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }

  std::string path(const std::string& name) const { return root_ + "/" + name; }
  const std::string& root() const { return root_; }

  /// Writes a file and the folders above it.
  void write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << content;
  }

 private:
  std::string root_;
};

/// The whole file; nothing if it cannot be read.
inline std::string read_file(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

}  // namespace membroker::testing
