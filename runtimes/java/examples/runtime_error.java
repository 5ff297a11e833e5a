public class Main {
    public static void main(String[] arguments) {
        System.out.println("before");
        System.out.println(arguments[3]);
    }
}
