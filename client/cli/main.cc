#include <string>
#include <vector>

#include "client/cli/cli.h"
#include "client/cli/console.h"

int main(int argc, char** argv) {
  membroker::cli::ProcessConsole console;
  return membroker::cli::run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc),
                             console);
}
