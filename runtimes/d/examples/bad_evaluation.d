int endless()
{
    int number;
    while (true)
        number = (number + 1) & 7;
}

enum value = endless();

void main()
{
}
