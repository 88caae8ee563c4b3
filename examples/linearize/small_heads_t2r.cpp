// T2R students for small heads, and the softmax control.
#include "procedure.hpp"

namespace examples {

template Report linearize<lolcats::zoo::T2R16Linear>(Job&);
template Report linearize<lolcats::zoo::T2R16Terraced64>(Job&);
template Report linearize<lolcats::zoo::SoftmaxControl>(Job&);

}  // namespace examples
