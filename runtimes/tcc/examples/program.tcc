#include <stdio.h>
#include <stdlib.h>

static int compare(const void *left, const void *right) {
    long a = *(const long *)left, b = *(const long *)right;
    return (a > b) - (a < b);
}

int main(void) {
    size_t count = 0, room = 16;
    long *numbers = malloc(room * sizeof *numbers);
    long number, sum = 0;
    while (numbers && scanf("%ld", &number) == 1) {
        if (count == room)
            numbers = realloc(numbers, (room *= 2) * sizeof *numbers);
        if (!numbers)
            break;
        numbers[count++] = number;
        sum += number;
    }
    if (!numbers)
        return 1;
    qsort(numbers, count, sizeof *numbers, compare);
    for (size_t i = 0; i < count; i++)
        printf("%s%ld", i ? " " : "", numbers[i]);
    printf("\nsum %ld\n", sum);
    FILE *file = fopen("sum.txt", "w");
    if (!file)
        return 1;
    fprintf(file, "%ld\n", sum);
    fclose(file);
    free(numbers);
    return 3;
}
