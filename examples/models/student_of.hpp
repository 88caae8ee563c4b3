// student_of<Entry>, for the units that instantiate it.
#pragma once

#include "any_model_of.hpp"

namespace examples {

template <class Entry>
std::unique_ptr<AnyModel> student_of(const Teacher& teacher, std::uint64_t seed, const std::filesystem::path& checkpoint) {
  using Student = typename Entry::template Model<Device>;
  using Attention = typename Entry::Attention;
  const auto made = [](Student student) { return std::make_unique<AnyModelOf<Student>>(std::move(student)); };
  if (checkpoint.empty()) return made(lolcats::convert<Student>(teacher, seed));
  if constexpr (!lolcats::PerLayerPolicy<Attention>) {
    if constexpr (lolcats::cache_needs_no_training<Attention>) {
      if (lolcats::stored_method(checkpoint) == lolcats::WithoutCache<Attention>::name()) {
        return made(lolcats::load_with_cache<Student>(teacher, checkpoint));
      }
    }
  }
  return made(lolcats::load_linearized<Student>(teacher, checkpoint));
}

}  // namespace examples
