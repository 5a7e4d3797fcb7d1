# Drops include folders that do not exist from every imported target.
#
# The ROS 2 wheels on PyPI export targets that name folders of the machine they were built on (/opt/python/...), and CMake
# refuses targets with missing folders. Nothing installed is changed: CMake reads this file after project() when told so by
# -DCMAKE_PROJECT_mmsense_ros_INCLUDE=<this file>, and the check runs once the CMakeLists.txt has been read.

function(keep_existing_include_folders directory)
  get_property(targets DIRECTORY ${directory} PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders)
      set(existing "")
      foreach(folder IN LISTS folders)
        if(folder MATCHES "\\$<" OR EXISTS "${folder}")
          list(APPEND existing "${folder}")
        endif()
      endforeach()
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${existing}")
    endif()
  endforeach()
endfunction()

cmake_language(DEFER CALL keep_existing_include_folders "${CMAKE_CURRENT_SOURCE_DIR}")
