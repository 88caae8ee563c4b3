// The products of the CPU backend, compiled once for all units of our programs.
#include <lolcats/backend/cpu.hpp>

namespace lolcats::eigen {

template void add_column_major_product<float>(float*, Index, const Factor<float>&, const Factor<float>&, float);
template void add_column_major_product<double>(double*, Index, const Factor<double>&, const Factor<double>&, double);

}  // namespace lolcats::eigen
