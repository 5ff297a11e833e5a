using System;
using System.Security.Cryptography;

class Twins
{
    static void Main()
    {
        var random = new Random();
        Console.WriteLine("Random " + random.Next() + " " + random.Next());
        var bytes = new byte[8];
        using (var generator = RandomNumberGenerator.Create())
            generator.GetBytes(bytes);
        Console.WriteLine("RandomNumberGenerator " + BitConverter.ToString(bytes));
        Console.WriteLine("Guid " + Guid.NewGuid());
    }
}
