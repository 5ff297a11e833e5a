#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct entry {
    double value;
    struct entry *next;
};

static int compare(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

int main(int count, char **arguments) {
    struct entry *first = NULL;
    for (int i = 0; i < 10; i++) {
        struct entry *made = malloc(sizeof *made);
        assert(made);
        *made = (struct entry){.value = sqrt(i + count), .next = first};
        first = made;
    }
    qsort(arguments, (size_t)count, sizeof *arguments, compare);
    while (first) {
        struct entry *gone = first;
        printf("%.3f ", gone->value);
        first = first->next;
        free(gone);
    }
    puts("ready");
    return 0;
}
