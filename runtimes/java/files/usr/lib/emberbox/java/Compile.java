package emberbox;

import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.util.JavacTask;
import java.io.IOException;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import javax.lang.model.element.Modifier;
import javax.lang.model.element.NestingKind;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.ForwardingJavaFileObject;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * Compiles SCRIPT into the folder OUTPUT by javac, and notes there, in {@code .main}, which class has the program's entry:
 * {@code Compile SCRIPT OUTPUT USUAL}.
 *
 * <p>In a template it is held where it looks at the script. Before that it compiles a usual program to nowhere: the compiler's
 * classes are loaded then, and what it has read of the library stays.
 */
public final class Compile {
    private static final List<String> OPTIONS = List.of("-Xdiags:compact", "-proc:none", "-g:source,lines", "-encoding", "UTF-8");

    private final JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    private final StandardJavaFileManager files = compiler.getStandardFileManager(null, null, null);

    public static void main(String[] arguments) throws IOException {
        Compile compile = new Compile();
        if (Waiting.isComing()) compile.warm(Path.of(arguments[2]));
        System.exit(compile.compile(Path.of(arguments[0]), Path.of(arguments[1])) ? 0 : 1);
    }

    /** Compiles a usual program without a trace. */
    private void warm(Path usual) {
        JavaFileManager nowhere = new ForwardingJavaFileManager<>(files) {
            @Override
            public JavaFileObject getJavaFileForOutput(Location place, String name, JavaFileObject.Kind kind, FileObject sibling) {
                return new SimpleJavaFileObject(URI.create("nowhere:/" + name.replace('$', '_')), kind) {
                    @Override
                    public OutputStream openOutputStream() {
                        return OutputStream.nullOutputStream();
                    }
                };
            }
        };
        List<JavaFileObject> sources = new ArrayList<>();
        files.getJavaFileObjects(usual).forEach(sources::add);
        compiler.getTask(new StringWriter(), nowhere, null, OPTIONS, null, sources).call();
    }

    private boolean compile(Path script, Path output) throws IOException {
        Path folder = script.toAbsolutePath().getParent();
        JavaFileObject source = new AnyName(files.getJavaFileObjects(script).iterator().next());
        Files.createDirectories(output);
        List<String> options = new ArrayList<>(OPTIONS);
        options.addAll(List.of("-d", output.toString(), "-sourcepath", folder.toString()));
        PrintWriter errors = new PrintWriter(new OutputStreamWriter(System.err), true);
        if (!compiler.getTask(errors, files, null, options, null, List.of(source)).call()) return false;
        Files.writeString(output.resolve(".main"), entry(source) + "\n");
        return true;
    }

    private String entry(JavaFileObject source) throws IOException {
        JavacTask task = (JavacTask) compiler.getTask(new StringWriter(), files, null, OPTIONS, null, List.of(source));
        return entry(task.parse().iterator().next());
    }

    /** Returns the class whose {@code main} comes first, with its package; of a source without one, the first class. */
    private static String entry(CompilationUnitTree unit) {
        String first = null;
        String chosen = null;
        for (Tree tree : unit.getTypeDecls()) {
            if (!(tree instanceof ClassTree type)) continue;
            if (first == null) first = type.getSimpleName().toString();
            if (chosen == null && type.getMembers().stream().anyMatch(Compile::starts)) chosen = type.getSimpleName().toString();
        }
        String name = chosen != null ? chosen : first != null ? first : "Main";
        return unit.getPackageName() == null ? name : unit.getPackageName() + "." + name;
    }

    private static boolean starts(Tree member) {
        return member instanceof MethodTree method
                && method.getName().contentEquals("main")
                && method.getModifiers().getFlags().contains(Modifier.STATIC);
    }

    /** A source whose public class may have any name, as for {@code java FILE}. */
    private static final class AnyName extends ForwardingJavaFileObject<JavaFileObject> {
        AnyName(JavaFileObject file) {
            super(file);
        }

        @Override
        public boolean isNameCompatible(String name, Kind kind) {
            return kind == Kind.SOURCE;
        }

        @Override
        public NestingKind getNestingKind() {
            return null;
        }
    }
}
