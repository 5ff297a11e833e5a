import std.algorithm, std.array, std.conv, std.file, std.stdio;

int main()
{
    long[] numbers;
    foreach (line; stdin.byLine)
        foreach (word; line.split)
            numbers ~= word.to!long;
    numbers.sort();
    immutable sum = numbers.sum;
    writeln(numbers.map!(number => number.to!string).join(" "));
    writeln("sum " ~ sum.to!string);
    std.file.write("/dev/null", sum.to!string ~ "\n");
    return 0;
}
