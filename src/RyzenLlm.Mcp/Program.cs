Console.WriteLine("ryzenllm");
