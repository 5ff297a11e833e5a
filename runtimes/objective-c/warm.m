#include <objc/objc.h>
#include <objc/runtime.h>
#import <objc/Object.h>
#include <stdio.h>
#include <stdlib.h>

@interface Numbers : Object {
    long *values;
    size_t count, room;
}
+ (id)new;
- (void)add:(long)value;
- (void)sort;
- (long)sum;
- (void)print;
@end

static int compare(const void *left, const void *right) {
    long a = *(const long *)left, b = *(const long *)right;
    return (a > b) - (a < b);
}

@implementation Numbers
+ (id)new {
    return class_createInstance(self, 0);
}
- (void)add:(long)value {
    if (count == room) {
        room = room ? room * 2 : 16;
        values = realloc(values, room * sizeof *values);
        if (!values)
            abort();
    }
    values[count++] = value;
}
- (void)sort {
    if (count)
        qsort(values, count, sizeof *values, compare);
}
- (long)sum {
    long sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum;
}
- (void)print {
    for (size_t i = 0; i < count; i++)
        printf("%s%ld", i ? " " : "", values[i]);
    printf("\nsum %ld\n", [self sum]);
}
@end

int main(void) {
    Numbers *numbers = [Numbers new];
    long number;
    while (scanf("%ld", &number) == 1)
        [numbers add:number];
    [numbers sort];
    [numbers print];
    FILE *file = fopen("/dev/null", "w");
    if (!file)
        return 1;
    fprintf(file, "%ld\n", [numbers sum]);
    fclose(file);
    return 0;
}
