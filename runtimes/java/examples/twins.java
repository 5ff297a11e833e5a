import java.security.SecureRandom;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;

public class Main {
    public static void main(String[] arguments) {
        System.out.println("Random " + new Random().nextLong());
        System.out.println("ThreadLocalRandom " + ThreadLocalRandom.current().nextLong());
        System.out.println("Math.random " + Math.random() + " " + Math.random());
        System.out.println("SecureRandom " + new SecureRandom().nextLong());
        System.out.println("UUID " + UUID.randomUUID());
    }
}
