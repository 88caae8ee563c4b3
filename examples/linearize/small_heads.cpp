// Students for small heads.
#include "procedure.hpp"

namespace examples {

template Report linearize<lolcats::zoo::Hedgehog8Linear>(Job&);
template Report linearize<lolcats::zoo::Hedgehog8Sliding16>(Job&);
template Report linearize<lolcats::zoo::Hedgehog8Terraced64>(Job&);

}  // namespace examples
