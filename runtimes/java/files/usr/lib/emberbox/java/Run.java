package emberbox;

import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.IOException;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Runs what {@link Compile} has put into the folder OUTPUT, as {@code java -cp OUTPUT CLASS} does.
 *
 * <p>A template holds it where it looks at that folder. Behind that, what seeds the library's generators is drawn anew.
 */
public final class Run {
    public static void main(String[] arguments) throws Throwable {
        if (Waiting.isComing()) {
            separate();
            handle(Run.class.getMethod("nothing", String[].class)).invokeExact(arguments);
        }
        String output = arguments[0];
        String name;
        try (BufferedReader reader = Files.newBufferedReader(Path.of(output, ".main"))) {
            name = reader.readLine();
        }
        separate();
        MethodHandle main = find(append(output), name);
        try {
            main.invokeExact(Arrays.copyOfRange(arguments, 1, arguments.length));
        } catch (Throwable error) {
            withoutRun(error);
            throw error;
        }
    }

    /** Lets the class path be the folder, as if Java had been started with it. */
    private static ClassLoader append(String output) throws ReflectiveOperationException {
        ClassLoader loader = ClassLoader.getSystemClassLoader();
        Method append = loader.getClass().getDeclaredMethod("appendToClassPathForInstrumentation", String.class);
        append.setAccessible(true);
        append.invoke(loader, output);
        System.setProperty("java.class.path", output);
        return loader;
    }

    private static MethodHandle find(ClassLoader loader, String name) throws IllegalAccessException {
        try {
            return handle(Class.forName(name, false, loader).getMethod("main", String[].class));
        } catch (ClassNotFoundException error) {
            return fail("Could not find or load main class " + name);
        } catch (NoSuchMethodException error) {
            return fail("Main method not found in class " + name
                    + ", please define the main method as:\n   public static void main(String[] args)");
        }
    }

    private static MethodHandle handle(Method method) throws IllegalAccessException {
        method.setAccessible(true);
        return MethodHandles.lookup().unreflect(method).asType(MethodType.methodType(void.class, String[].class));
    }

    /** What a program's main method is tried out with before there is one. */
    public static void nothing(String[] arguments) {}

    private static MethodHandle fail(String message) {
        System.err.println("Error: " + message);
        System.exit(1);
        return null;
    }

    /** Takes this class's own line from the end of an error's stack trace. */
    private static void withoutRun(Throwable error) {
        for (Throwable each = error; each != null; each = each.getCause()) {
            StackTraceElement[] trace = each.getStackTrace();
            int last = trace.length - 1;
            if (last >= 0 && trace[last].getClassName().equals(Run.class.getName())) each.setStackTrace(Arrays.copyOf(trace, last));
        }
    }

    /** The seeds of {@link Random} and {@link ThreadLocalRandom} come from the clock and from a counter, which twins share. */
    private static void separate() throws IOException, ReflectiveOperationException {
        try (DataInputStream random = new DataInputStream(Files.newInputStream(Path.of("/dev/urandom")))) {
            counter(Random.class, "seedUniquifier").set(random.readLong() | 1);
            counter(ThreadLocalRandom.class, "seeder").set(random.readLong());
        }
    }

    private static AtomicLong counter(Class<?> type, String name) throws ReflectiveOperationException {
        Field field = type.getDeclaredField(name);
        field.setAccessible(true);
        return (AtomicLong) field.get(null);
    }
}
