using System;
using System.IO;
using System.Linq;

class Program
{
    static int Main()
    {
        var words = Console.In.ReadToEnd().Split((char[])null, StringSplitOptions.RemoveEmptyEntries);
        var numbers = words.Select(long.Parse).OrderBy(number => number).ToList();
        Console.WriteLine(string.Join(" ", numbers));
        Console.WriteLine("sum " + numbers.Sum());
        File.WriteAllText("sum.txt", numbers.Sum() + "\n");
        return 3;
    }
}
