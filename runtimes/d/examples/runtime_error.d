import std.stdio;

void main()
{
    writeln("before");
    stdout.flush();
    throw new Exception("nobody catches this");
}
