# SPDX-License-Identifier: Apache-2.0
# The I/O around the unit core: frames, links, edge, keeper, views, regions, whole supervisors.
add_library(io_stub_preload SHARED io_stub_preload.cc)
add_executable(ring_echo ring_echo.cc)
target_link_libraries(ring_echo PRIVATE ftrun_io)
