# Headers, both libraries, the CMake package (gradiometer::gradiometer is the shared library, gradiometer::static
# the other) and gradiometer.pc, whose paths are relative to its own place: the tree may be moved.
include(CMakePackageConfigHelpers)
set(gm_package ${CMAKE_INSTALL_LIBDIR}/cmake/gradiometer)

install(TARGETS gradiometer_shared gradiometer_static EXPORT gradiometer COMPONENT core)
install(DIRECTORY include/gradiometer ${CMAKE_CURRENT_BINARY_DIR}/include/gradiometer
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT core FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(EXPORT gradiometer NAMESPACE gradiometer:: FILE gradiometerTargets.cmake DESTINATION ${gm_package}
  COMPONENT core)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/gradiometerConfig.cmake.in gradiometerConfig.cmake
  INSTALL_DESTINATION ${gm_package})
write_basic_package_version_file(gradiometerConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/gradiometerConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/gradiometerConfigVersion.cmake DESTINATION ${gm_package} COMPONENT core)

set(gm_pc_private -lm)
if(gm_threads)
  string(APPEND gm_pc_private " -pthread")
endif()
file(RELATIVE_PATH gm_pc_root /${CMAKE_INSTALL_LIBDIR}/pkgconfig /.)
configure_file(${CMAKE_CURRENT_LIST_DIR}/gradiometer.pc.in gradiometer.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/gradiometer.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
  COMPONENT core)
