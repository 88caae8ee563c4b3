// Adapters: which projections learn a low-rank correction.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/policy/ratio.hpp>

#include <concepts>
#include <string>
#include <string_view>

namespace lolcats {

/// The projections of a decoder layer.
enum class Projections : unsigned { q = 1, k = 2, v = 4, o = 8, gate = 16, up = 32, down = 64 };

/// How a projection is called: in names of types, and in a layer of Hugging Face's Llama.
struct ProjectionName {
  Projections projection;
  std::string_view word;
  std::string_view module;
};
inline constexpr ProjectionName projection_names[] = {
    {Projections::q, "q", "self_attn.q_proj"}, {Projections::k, "k", "self_attn.k_proj"},
    {Projections::v, "v", "self_attn.v_proj"}, {Projections::o, "o", "self_attn.o_proj"},
    {Projections::gate, "gate", "mlp.gate_proj"}, {Projections::up, "up", "mlp.up_proj"},
    {Projections::down, "down", "mlp.down_proj"}};
constexpr std::string_view module_of(Projections projection) {
  for (const ProjectionName& name : projection_names) {
    if (name.projection == projection) return name.module;
  }
  return {};
}

/// A set of projections: Targets{Projections::q, Projections::v}, or the ready-made `qkvo`.
struct Targets {
  unsigned bits = 0;

  constexpr Targets() = default;
  /// A set by its bits.  Implicit, because nvcc hands template arguments to the host compiler as {15}.
  constexpr Targets(unsigned set) : bits(set) {}
  template <std::same_as<Projections>... P>
  constexpr explicit Targets(P... projections) : bits((static_cast<unsigned>(projections) | ... | 0U)) {}

  constexpr bool contains(Projections projection) const { return (bits & static_cast<unsigned>(projection)) != 0; }
  friend constexpr bool operator==(Targets, Targets) = default;
};

inline constexpr Targets qkvo{Projections::q, Projections::k, Projections::v, Projections::o};

/// "qkvo", "vo", "qkvo+gate+up+down".
inline std::string to_string(Targets targets) {
  std::string text;
  for (const auto& [projection, word, module] : projection_names) {
    if (!targets.contains(projection)) continue;
    if (word.size() > 1 && !text.empty()) text += '+';
    text += word;
  }
  return text;
}

/// No adapter.
struct NoAdapter {
  static constexpr Targets targets{};
  static constexpr Index rank = 0;
  static constexpr double alpha = 0;
  static constexpr double dropout = 0;
  static std::string name() { return "no adapter"; }
};

/// y = x W^T + (Alpha / Rank) mask(x) A^T B^T on each target; A (R, in) uniform in +-1/sqrt(in), B (out, R) zero.
///
/// Dropout acts on the adapter's input in training only.  Hu et al. 2021, arXiv:2106.09685.
template <Index Rank, Targets On = qkvo, Index Alpha = 2 * Rank, Ratio Dropout = Ratio{0, 1}>
struct Lora {
  static_assert(Rank > 0, "Lora needs a rank of at least 1");
  static_assert(On.bits != 0, "Lora needs at least one target");
  static_assert(Dropout.value() >= 0 && Dropout.value() < 1, "Lora's dropout lies in [0, 1)");
  static constexpr Targets targets = On;
  static constexpr Index rank = Rank;
  static constexpr double alpha = static_cast<double>(Alpha);
  static constexpr double dropout = Dropout.value();
  static std::string name() {
    std::string text = "lora<" + std::to_string(Rank) + ", " + to_string(On);
    if (Alpha != 2 * Rank) text += ", alpha " + std::to_string(Alpha);
    if (Dropout.numerator != 0) text += fmt::format(", dropout {}", Dropout.value());
    return text + ">";
  }
};

// clang-format off
template <class P>
concept AdapterPolicy = requires {
  { P::targets } -> std::convertible_to<Targets>;
  { P::rank } -> std::convertible_to<Index>;
  { P::alpha } -> std::convertible_to<double>;
  { P::dropout } -> std::convertible_to<double>;
  { P::name() } -> std::convertible_to<std::string>;
};
// clang-format on

static_assert(AdapterPolicy<NoAdapter> && AdapterPolicy<Lora<8>>);

}  // namespace lolcats
