import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;

public class Main {
    public static void main(String[] arguments) throws IOException {
        String text = new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
        long[] numbers = Arrays.stream(text.trim().split("\\s+")).filter(word -> !word.isEmpty()).mapToLong(Long::parseLong).sorted().toArray();
        long sum = Arrays.stream(numbers).sum();
        System.out.println(Arrays.stream(numbers).mapToObj(Long::toString).collect(Collectors.joining(" ")));
        System.out.println("sum " + sum);
        Files.writeString(Path.of("sum.txt"), sum + "\n");
        System.exit(3);
    }
}
