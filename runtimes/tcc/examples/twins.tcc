#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

int main(void) {
    unsigned long from_call, from_file;
    struct timespec now;
    if (getrandom(&from_call, sizeof from_call, 0) != sizeof from_call)
        return 1;
    printf("getrandom %016lx\n", from_call);
    FILE *device = fopen("/dev/urandom", "rb");
    if (!device || fread(&from_file, sizeof from_file, 1, device) != 1)
        return 1;
    printf("/dev/urandom %016lx\n", from_file);
    clock_gettime(CLOCK_REALTIME, &now);
    srandom((unsigned)(now.tv_sec * 1000000007L + now.tv_nsec));
    printf("random %08lx%08lx\n", (unsigned long)random(), (unsigned long)random());
    return 0;
}
