// Teacher to student: the same weights under another attention.
#pragma once

#include <lolcats/model/llama.hpp>

#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace lolcats {

namespace detail {

/// Do two attentions keep the same maps?
template <AttentionPolicy A, AttentionPolicy Other>
inline constexpr bool same_maps = has_maps<A> && std::is_same_v<typename A::Map, typename Other::Map> &&
                                  A::shared_maps == Other::shared_maps &&
                                  A::key_maps_per_group == Other::key_maps_per_group;

/// Does an attention take a parameter of this name from another?
template <AttentionPolicy From, AttentionPolicy To>
bool shares(const std::string& name) {
  if (name.find("memory_") != std::string::npos) return std::is_same_v<MemoryOf<From>, MemoryOf<To>>;
  if (name.ends_with("window_factors")) return has_mixing<From> && has_mixing<To> && corrects<MemoryOf<From>> == corrects<MemoryOf<To>>;
  return same_maps<From, To>;
}

/// Assigns parameters of `from` to those of `to` that have the same name and shape and satisfy `wanted`.  Shapes differ where one
/// has a gate per query head and the other one per key/value head.
template <Backend B>
void share_parameters(const ConstParameters<B>& from, const Parameters<B>& to, const std::function<bool(const std::string& name)>& wanted) {
  std::map<std::string, const Parameter<B>*> by_name;
  for (const auto& [name, parameter] : from) by_name[name] = parameter;
  for (const auto& [name, parameter] : to) {
    const auto found = by_name.find(name);
    if (found != by_name.end() && found->second->shape() == parameter->shape() && wanted(name)) *parameter = *found->second;
  }
}

}  // namespace detail

/// A student with the teacher's weights.  Copies no weight: both models hold the same tensors.
///
/// Maps, window factors and adapters are shared, too, where both types have the same; the others are fresh (identity or
/// whatever the map's rule says, gamma where its mix starts, an adapter that changes nothing), from `seed`.  A teacher whose adapters
/// are merged gives its merged weights, and the student a fresh adapter.
/// Where the student's layers differ (PerLayer), `attention_of_layer` says how; without it they have what those of a
/// teacher of the same type have, or the last of PerLayer.
/// Sharing ends for a parameter when it is trained: train() makes it private.
template <LlamaModel Student, LlamaModel Teacher>
  requires std::is_same_v<typename Student::Device, typename Teacher::Device>
Student convert(const Teacher& teacher, std::uint64_t seed = 0, const std::vector<Index>& attention_of_layer = {}) {
  using B = typename Student::Device;
  using From = typename Teacher::Attention;
  using To = typename Student::Attention;
  std::map<std::string, const Parameter<B>*> base;
  for (const auto& [name, parameter] : teacher.base_parameters()) base[name] = parameter;
  Student student(
      teacher.config(), [&](const std::string& name, const Shape&) { return *base.at(name); }, seed, teacher.backend());
  student.load_layers_from(teacher.layer_loader());

  if constexpr (PerLayerPolicy<To>) {
    if (attention_of_layer.empty() && std::is_same_v<From, To>) student.choose_attention(teacher.attention_of_layer());
    if (!attention_of_layer.empty()) student.choose_attention(attention_of_layer);
  } else {
    require<ConfigError>(attention_of_layer.empty(), "convert: a list of {} attentions, expected none, as all layers have {}",
                         attention_of_layer.size(), To::name());
  }
  for (Index i = 0; i < student.layer_count(); ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    visit_attention(teacher.layer(i).attention(), [&](const auto& from) {
      visit_attention(student.layer(i).attention(), [&](const auto& to) {
        detail::share_parameters(teacher.attention_parameters(), student.attention_parameters(), [&](const std::string& name) {
          return name.starts_with(layer) && detail::shares<decltype(detail::policy_of(from)), decltype(detail::policy_of(to))>(name);
        });
      });
    });
  }
  if constexpr (std::is_same_v<typename Student::Adapter, typename Teacher::Adapter>) {
    if (!teacher.merged()) {
      detail::share_parameters(teacher.adapter_parameters(), student.adapter_parameters(),
                                  [](const std::string&) { return true; });
    }
  }
  return student;
}

}  // namespace lolcats
