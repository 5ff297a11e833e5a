#include <assert.h>
#include <stdio.h>

int main(int count, char **arguments) {
    puts("before");
    fflush(stdout);
    assert(count < 0 && arguments[0]);
    return 0;
}
