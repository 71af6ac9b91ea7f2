# One row an instruction set: name, compiler flags, the architectures it exists on ("any" or a regex on
# CMAKE_SYSTEM_PROCESSOR). A row needs src/simd/<name>.hpp and an entry in src/cpu.cpp; the best supported
# row (the last) wins at run time. The first two are for processors that are rare by now: small before fast, for
# the wheel (one thirteenth of it).
set(GM_ISAS
  "scalar|$<$<CONFIG:Release>:-Os> -fno-tree-vectorize -fno-tree-slp-vectorize|any"
  "sse42|$<$<CONFIG:Release>:-O2> -msse4.2|x86_64|AMD64"
  "avx2|-mavx2 -mfma|x86_64|AMD64"
  "avx512|-mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprefer-vector-width=512|x86_64|AMD64")

# gm_add_isas(<names> <list>): compiles src/kernels.cpp once for every row that this architecture has, each into
# an object library gm_kernels_<name> in a namespace of its own name. <names> receives the rows' names, <list>
# the value of GM_ISA_LIST, which tells dispatch.cpp which there are.
function(gm_add_isas names list)
  set(found "")
  set(rows "")
  foreach(row IN LISTS GM_ISAS)
    string(REGEX MATCH "^([^|]+)\\|([^|]*)\\|(.+)$" _ "${row}")
    set(name ${CMAKE_MATCH_1})
    separate_arguments(flags UNIX_COMMAND "${CMAKE_MATCH_2}")
    set(arch "${CMAKE_MATCH_3}")
    if(NOT arch STREQUAL "any" AND NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(${arch})$")
      continue()
    endif()
    add_library(gm_kernels_${name} OBJECT src/kernels.cpp)
    # GCC 12 believes that its own _mm512_undefined_ps() is a mistake of ours.
    # Nothing is thrown through kernels: their unwind tables are a twentieth of them.
    target_compile_options(gm_kernels_${name} PRIVATE ${flags} -fno-asynchronous-unwind-tables
      $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    target_compile_definitions(gm_kernels_${name} PRIVATE GM_ISA=${name} GM_ISA_HEADER="simd/${name}.hpp")
    target_link_libraries(gm_kernels_${name} PRIVATE gm_options)
    # Link-time optimisation would inline wide instructions into code that runs on every processor.
    set_target_properties(gm_kernels_${name} PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
    list(APPEND found ${name})
    string(APPEND rows " GM_ISA_ROW(${name})")
  endforeach()
  set(${names} ${found} PARENT_SCOPE)
  set(${list} "${rows}" PARENT_SCOPE)
endfunction()
