using System;

class Fails
{
    static void Main(string[] arguments)
    {
        Console.WriteLine("before");
        Console.WriteLine(arguments[3]);
    }
}
