# What a user of the library gets: headers, libmembroker.so.0, a CMake package, pkg-config. All of
# the component "libmembroker", so that it can be installed without the programs.
install(TARGETS membroker EXPORT membrokerTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT libmembroker)
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/membroker"
                  "${CMAKE_SOURCE_DIR}/shared/include/membroker"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT libmembroker)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/membroker")
install(EXPORT membrokerTargets NAMESPACE membroker:: DESTINATION "${package_dir}"
  COMPONENT libmembroker)
configure_package_config_file(package/membrokerConfig.cmake.in
  "${CMAKE_CURRENT_BINARY_DIR}/membrokerConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/membrokerConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/membrokerConfig.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/membrokerConfigVersion.cmake"
  DESTINATION "${package_dir}" COMPONENT libmembroker)

# The prefix is known only when installing (cmake --install --prefix): the rest is filled in now,
# and the prefix then.
cmake_path(APPEND MEMBROKER_PC_LIBDIR "\${prefix}" "${CMAKE_INSTALL_LIBDIR}")
cmake_path(APPEND MEMBROKER_PC_INCLUDEDIR "\${prefix}" "${CMAKE_INSTALL_INCLUDEDIR}")
set(MEMBROKER_PC_PREFIX "@CMAKE_INSTALL_PREFIX@")
configure_file(package/libmembroker.pc.in
  "${CMAKE_CURRENT_BINARY_DIR}/libmembroker.pc.in" @ONLY)
install(CODE "
  configure_file(\"${CMAKE_CURRENT_BINARY_DIR}/libmembroker.pc.in\"
    \"${CMAKE_CURRENT_BINARY_DIR}/libmembroker.pc\" @ONLY)
  file(INSTALL \"${CMAKE_CURRENT_BINARY_DIR}/libmembroker.pc\"
    DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig\")"
  COMPONENT libmembroker)
