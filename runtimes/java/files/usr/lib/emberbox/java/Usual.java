package emberbox;

import java.io.*;
import java.nio.file.*;
import java.util.*;
import java.util.function.*;
import java.util.stream.*;

/** A program as many are: compiled and run in the template, so that what it needs of the library is there already. */
public class Usual {
    interface Shape { double area(); }
    record Square(double side) implements Shape { public double area() { return side * side; } }
    enum Colour { RED, GREEN }
    static abstract class Base<T extends Comparable<T>> { abstract T pick(List<T> values); }
    static class Greatest<T extends Comparable<T>> extends Base<T> {
        @Override T pick(List<T> values) { return Collections.max(values); }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Integer> counts = new HashMap<>();
        for (String word : "a b a".split(" ")) counts.merge(word, 1, Integer::sum);
        Map<String, List<Integer>> sorted = new TreeMap<>();
        sorted.computeIfAbsent("x", key -> new ArrayList<>()).add(3);
        StringBuilder text = new StringBuilder();
        for (var entry : counts.entrySet()) text.append(entry.getKey()).append('=').append(entry.getValue()).append(' ');
        System.out.println(text + String.format("%5.2f %d %s", new Square(2).area(), 7, Colour.RED));
        System.out.println(IntStream.range(0, 9).filter(n -> n % 2 == 1).mapToObj(Integer::toString).collect(Collectors.joining(",")));
        System.out.println(Stream.of(3, 1, 2).sorted(Comparator.reverseOrder()).map(n -> n * 2).collect(Collectors.toList()));
        long[] numbers = Arrays.stream("5 3".split("\\s+")).mapToLong(Long::parseLong).sorted().toArray();
        Deque<Long> queue = new ArrayDeque<>(List.of(numbers[0], Arrays.stream(numbers).sum()));
        PriorityQueue<Long> first = new PriorityQueue<>(queue);
        Set<Object> seen = new HashSet<>(first);
        Function<Integer, Integer> twice = n -> n + n;
        Supplier<Base<Integer>> maker = Greatest::new;
        System.out.println(twice.apply(maker.get().pick(List.of(1, 4))) + " " + seen.size());
        switch (Colour.GREEN) {
            case RED -> System.out.println("red");
            default -> System.out.println("green");
        }
        try (BufferedReader lines = new BufferedReader(new StringReader("1\n2\n"))) {
            for (String line; (line = lines.readLine()) != null; ) System.out.println(Integer.parseInt(line));
        }
        try (Scanner scanner = new Scanner("4 5")) {
            while (scanner.hasNextInt()) System.out.println(scanner.nextInt());
        }
        Files.writeString(Path.of("/dev/null"), "text");
        Thread thread = new Thread(() -> System.out.println("thread"));
        thread.start();
        thread.join();
        try {
            Object nothing = null;
            nothing.toString();
        } catch (RuntimeException caught) {
            System.out.println(Optional.ofNullable(caught.getMessage()).isPresent());
        }
    }
}
