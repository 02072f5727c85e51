# What a user of the library gets: headers, libmembroker.so.0, a CMake package, pkg-config.
install(TARGETS membroker EXPORT membrokerTargets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/membroker" "${CMAKE_SOURCE_DIR}/shared/include/membroker"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/membroker")
install(EXPORT membrokerTargets NAMESPACE membroker:: DESTINATION "${package_dir}")
configure_package_config_file(package/membrokerConfig.cmake.in
  "${CMAKE_CURRENT_BINARY_DIR}/membrokerConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/membrokerConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/membrokerConfig.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/membrokerConfigVersion.cmake"
  DESTINATION "${package_dir}")

cmake_path(APPEND MEMBROKER_PC_LIBDIR "\${prefix}" "${CMAKE_INSTALL_LIBDIR}")
cmake_path(APPEND MEMBROKER_PC_INCLUDEDIR "\${prefix}" "${CMAKE_INSTALL_INCLUDEDIR}")
configure_file(package/libmembroker.pc.in "${CMAKE_CURRENT_BINARY_DIR}/libmembroker.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/libmembroker.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
