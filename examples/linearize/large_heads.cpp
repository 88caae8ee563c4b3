// Students for heads of 128.
#include "procedure.hpp"

namespace examples {

template Report linearize<lolcats::zoo::Hedgehog64Linear>(Job&);
template Report linearize<lolcats::zoo::Hedgehog64Terraced64>(Job&);
template Report linearize<lolcats::zoo::Hedgehog64Sliding64>(Job&);
template Report linearize<lolcats::zoo::T2R128Linear>(Job&);
template Report linearize<lolcats::zoo::T2R128Terraced64>(Job&);

}  // namespace examples
