#define A(x) B(x) B(x)
#define B(x) C(x) C(x)
#define C(x) D(x) D(x)
#define D(x) E(x) E(x)
#include "bad_recursion.c"
int main(void) { return A(1); }
