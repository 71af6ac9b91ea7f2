# An object of kernels defines one global symbol, its table, and weak ones (templates, inline functions) only in
# its own namespace: the linker keeps one copy of equal weak symbols, and a copy compiled for AVX-512 must never
# be the one that an older processor runs.
execute_process(COMMAND ${NM} --defined-only --extern-only --format=posix ${OBJECT}
  OUTPUT_VARIABLE listing COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" lines "${listing}")
string(LENGTH "${ISA}" length)
set(globals "")
foreach(line IN LISTS lines)
  string(REGEX MATCH "^([^ ]+) ([A-Za-z])" _ "${line}")
  set(symbol ${CMAKE_MATCH_1})
  if(CMAKE_MATCH_2 MATCHES "[WVu]")
    if(NOT symbol MATCHES "^_Z(GV|Z|N|K)*11gradiometer${length}${ISA}")
      message(SEND_ERROR "${ISA}: weak symbol outside gradiometer::${ISA}: ${symbol}")
    endif()
  else()
    list(APPEND globals ${symbol})
  endif()
endforeach()
if(NOT globals MATCHES "^_ZN11gradiometer[0-9]+kernel_table_${ISA}Ev$")
  message(SEND_ERROR "${ISA}: kernel_table_${ISA} should be the only global symbol, found: ${globals}")
endif()
