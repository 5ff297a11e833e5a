#import <objc/Object.h>

int main(void) {
    [NoSuchClass greet];
    return 0;
}
