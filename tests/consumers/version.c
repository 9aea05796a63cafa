/* The smallest program that uses an installed Keystead. It also compiles as C++. */
#include <keystead.h>
#include <stdio.h>

int main(void)
{
    return puts(keystead_version()) < 0;
}
