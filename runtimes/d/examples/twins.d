import std.algorithm, std.array, std.conv, std.random, std.stdio;

void main()
{
    writeln("rndGen ", uniform!ulong());
    writeln("unpredictableSeed ", unpredictableSeed!ulong);
    ubyte[8] bytes;
    File("/dev/urandom", "rb").rawRead(bytes[]);
    writeln("/dev/urandom " ~ bytes[].map!(value => value.to!string).join("-"));
}
