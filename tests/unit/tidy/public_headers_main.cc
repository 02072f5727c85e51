// Compiling and linking this program is the test; see CMakeLists.txt.
int main() { return 0; }
