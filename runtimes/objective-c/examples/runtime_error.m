#include <assert.h>
#import <objc/Object.h>
#include <stdio.h>

@interface Account : Object
+ (void)withdraw:(int)amount;
@end

@implementation Account
+ (void)withdraw:(int)amount {
    assert(amount > 0);
}
@end

int main(void) {
    puts("before");
    fflush(stdout);
    [Account withdraw:-5];
    return 0;
}
