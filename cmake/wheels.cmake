# Makes targets portable whose include folders are those of one machine. Only for ROS 2 from PyPI wheels, and nothing installed
# is changed: CMake reads this file after project() when told to by -DCMAKE_PROJECT_mmsense_ros_INCLUDE=<this file>.
#
# Imported: the wheels export folders of the machine they were built on (/opt/python/...); CMake refuses missing ones.
# Exported: rosidl adds Python's and NumPy's folders; CMake refuses them if the virtual environment lies in the source tree.

function(mmsense_portable_include_folders)
  get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS imported)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    set(existing "")
    foreach(folder IN LISTS folders)
      if(EXISTS "${folder}" OR folder MATCHES "\\$<")
        list(APPEND existing "${folder}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${existing}")
  endforeach()

  set(exported ${PROJECT_NAME}__rosidl_generator_py)
  get_target_property(folders ${exported} INTERFACE_INCLUDE_DIRECTORIES)
  list(TRANSFORM folders REPLACE "^(/.+)$" "$<BUILD_INTERFACE:\\1>")
  set_target_properties(${exported} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
endfunction()

cmake_language(DEFER CALL mmsense_portable_include_folders)
