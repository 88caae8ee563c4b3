// student_of<Entry>, for the units that instantiate it.
#pragma once

#include "any_model_of.hpp"

namespace examples {

template <class Entry>
std::unique_ptr<AnyModel> student_of(const Teacher& teacher, std::uint64_t seed, const std::filesystem::path& checkpoint) {
  using Student = typename Entry::template Model<Device>;
  return std::make_unique<AnyModelOf<Student>>(checkpoint.empty() ? lolcats::convert<Student>(teacher, seed)
                                                                  : lolcats::load_linearized<Student>(teacher, checkpoint));
}

}  // namespace examples
