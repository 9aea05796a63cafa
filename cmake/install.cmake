# bin/keystead, the shared library, the header, and what find_package and pkg-config need.
include(CMakePackageConfigHelpers)

install(PROGRAMS "${KEYSTEAD_COMMAND}" DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(FILES include/keystead.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS keystead EXPORT keystead-targets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")

set(package_folder "${CMAKE_INSTALL_LIBDIR}/cmake/keystead")
configure_package_config_file(
  cmake/keystead-config.cmake.in keystead-config.cmake INSTALL_DESTINATION "${package_folder}")
write_basic_package_version_file(keystead-config-version.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/keystead-config.cmake" "${PROJECT_BINARY_DIR}/keystead-config-version.cmake"
  DESTINATION "${package_folder}")
install(EXPORT keystead-targets NAMESPACE keystead:: DESTINATION "${package_folder}")

# Relative, so that an installed tree may be moved.
file(RELATIVE_PATH KEYSTEAD_PREFIX_FROM_PKGCONFIG "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/keystead.pc.in keystead.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/keystead.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
