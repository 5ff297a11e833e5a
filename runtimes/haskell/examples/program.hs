module Main (main) where

import Data.List (sort)
import System.Exit (ExitCode (ExitFailure), exitWith)

main :: IO ()
main = do
  numbers <- map read . words <$> getContents :: IO [Integer]
  putStrLn (unwords (map show (sort numbers)))
  putStrLn ("sum " ++ show (sum numbers))
  writeFile "sum.txt" (show (sum numbers) ++ "\n")
  exitWith (ExitFailure 3)
