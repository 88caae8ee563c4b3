// student_of<Entry>, for the units that instantiate it.
#pragma once

#include "any_model_of.hpp"

namespace examples {

/// Does the device have kernels for an attention?
template <class A>
inline constexpr bool computed_here = [] {
  if constexpr (lolcats::PerLayerPolicy<A>) return true;
  else return lolcats::has_attention_kernel<Device, typename A::Map, typename A::Window, lolcats::MemoryOf<A>>;
}();

template <class Entry>
std::unique_ptr<AnyModel> student_of(const Teacher& teacher, std::uint64_t seed, const std::filesystem::path& checkpoint) {
  using Student = typename Entry::template Model<Device>;
  using Attention = typename Entry::Attention;
  if constexpr (!computed_here<Attention>) {
    lolcats::fail<lolcats::ConfigError>("student '{}': {} has no kernels for {}", Entry::name, Device::name(), Attention::name());
  } else {
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
}

}  // namespace examples
