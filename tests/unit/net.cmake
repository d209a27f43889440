# SPDX-License-Identifier: Apache-2.0
# The virtual kernel objects, compiled into ordinary processes over a fake environment.
file(GLOB net_test_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/preload/net/*.cc)
add_library(net_objects STATIC ${net_test_sources} fake_env.cc fake_host.cc ${CMAKE_SOURCE_DIR}/preload/guarded.S
  ${CMAKE_SOURCE_DIR}/preload/guarded.cc)
target_link_libraries(net_objects PUBLIC ftrun_flags ftrun_eventlog)
add_executable(net_tests guarded_test.cc net_listen_test.cc net_socket_test.cc net_descriptor_test.cc net_epoll_test.cc net_pipe_test.cc net_query_test.cc)
target_link_libraries(net_tests PRIVATE net_objects GTest::gtest GTest::gtest_main)
gtest_discover_tests(net_tests)
add_executable(net_differential_tests net_differential_test.cc net_differential.cc
  net_differential_peer.cc net_worlds.cc)
target_link_libraries(net_differential_tests PRIVATE net_objects GTest::gtest GTest::gtest_main)
gtest_discover_tests(net_differential_tests PROPERTIES TIMEOUT 120)
