using System;

class Broken
{
    static void Main()
    {
        int answer = "forty-two";
        Console.WriteLine(answer);
    }
}
